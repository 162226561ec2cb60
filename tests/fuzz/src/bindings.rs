//! What wasmtime makes of `wit/`, as the shell has it; what a guest returns can be read from JSON here.

use serde::{Deserialize, Deserializer};

use self::weft::mapping::types::{Directions, Inputs};

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "mapping-plugin",
    additional_derives: [serde::Deserialize],
});

/// Sets of flags get no derives: each is a number.
impl<'de> Deserialize<'de> for Directions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(among(u8::deserialize(deserializer)?, [Self::TO_HOST, Self::TO_VIRTUAL]))
    }
}

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(among(u8::deserialize(deserializer)?, [Self::VIRTUAL_OBJECT, Self::HOST_OBJECT]))
    }
}

/// Those of the flags whose bits are set.
fn among<F: Default + std::ops::BitOr<Output = F>>(bits: u8, flags: [F; 2]) -> F {
    let [first, second] = flags;
    let set = |bit: u8, flag: F| if bits & bit == 0 { F::default() } else { flag };
    set(1, first) | set(2, second)
}
