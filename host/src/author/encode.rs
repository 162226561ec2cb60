//! Makes a component from a core module.

use wit_component::ComponentEncoder;

/// The component of a core module that was built with bindings for `wit/`; a component is returned as it is.
///
/// # Errors
/// The bytes are not a module, or it has no bindings.
pub fn encode(bytes: Vec<u8>) -> Result<Vec<u8>, anyhow::Error> {
    let is_component = bytes.get(4..8) == Some(&[0x0d, 0x00, 0x01, 0x00]);
    if is_component {
        return Ok(bytes);
    }
    ComponentEncoder::default().validate(true).module(&bytes)?.encode()
}
