//! What `wit-bindgen` makes of `wit/`, and nothing else.
#![allow(missing_docs, clippy::pedantic, clippy::all)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "mapping-plugin",
    pub_export_macro: true,
});

/// What the guest imports of WASI.
#[cfg(feature = "worst")]
pub(crate) mod printing {
    wit_bindgen::generate!({ path: "wit", world: "printing", generate_all });
}
