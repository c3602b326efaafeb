//! Integration tests, reference models and fault plans.
