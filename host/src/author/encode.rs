//! From the module that a compiler makes to a component.

use wit_component::ComponentEncoder;

/// The component for the bytes of a core module that was built with bindings for `wit/`; a component is
/// given back as it is.
///
/// # Errors
/// The module is none, or has no bindings.
pub fn encode(bytes: Vec<u8>) -> Result<Vec<u8>, anyhow::Error> {
    let is_component = bytes.get(4..8) == Some(&[0x0d, 0x00, 0x01, 0x00]);
    if is_component {
        return Ok(bytes);
    }
    ComponentEncoder::default().validate(true).module(&bytes)?.encode()
}
