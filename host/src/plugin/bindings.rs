//! What wasmtime makes of `wit/`: generated names go no further than `plugin/`.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "mapping-plugin",
});
