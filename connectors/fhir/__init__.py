"""FHIR R4 at the edge: what is stored, in the words of FHIR. docs/fhir.md."""
