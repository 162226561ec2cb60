//! What `wit-bindgen` makes of `wit/`, and nothing else.
#![allow(missing_docs, clippy::pedantic, clippy::all)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "mapping-plugin",
    pub_export_macro: true,
});
