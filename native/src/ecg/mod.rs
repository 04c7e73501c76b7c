//! R-peak detection in one ECG lead, streaming.
