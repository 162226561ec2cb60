//! Holds the model API server to the truth: each case runs against it and against a real one, and both must answer the same.

mod case;
mod changes;
mod configs;
mod deletions;
mod lists;
mod normal;
mod pods;
mod services;
mod tokens;
mod watches;
