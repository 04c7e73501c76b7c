//! Desaturations and threshold alarms of an SpO2 series, streaming.
