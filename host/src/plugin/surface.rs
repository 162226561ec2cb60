//! What a component imports and exports, by name, read from its sections: nothing is compiled, and nothing is believed
//! of what they contain.

use wasmparser::{Parser, Payload};

/// Names of imports and exports that are read; a mapping plugin has a dozen.
const MOST: usize = 1000;
/// Characters that are kept of a name, for messages.
const NAME: usize = 200;

/// The names of what a component imports and exports.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Surface {
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
}

/// Reads the names of the component `bytes`; its core modules and inner components are passed over.
///
/// # Errors
/// Its sections are damaged, or the file ends in the middle of one.
pub(super) fn read(bytes: &[u8]) -> Result<Surface, String> {
    let mut surface = Surface::default();
    let mut level = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| plain(&error.to_string()))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => level += 1,
            Payload::End(_) => level = level.saturating_sub(1),
            Payload::ComponentImportSection(section) if level == 0 => {
                let names = section.into_iter().map(|import| import.map(|import| import.name.name));
                add(&mut surface.imports, names)?;
            }
            Payload::ComponentExportSection(section) if level == 0 => {
                let names = section.into_iter().map(|export| export.map(|export| export.name.name));
                add(&mut surface.exports, names)?;
            }
            _ => {}
        }
    }
    Ok(surface)
}

fn add<'a>(
    list: &mut Vec<String>,
    names: impl Iterator<Item = wasmparser::Result<&'a str>>,
) -> Result<(), String> {
    for name in names {
        if list.len() == MOST {
            return Err(format!("it has more than {MOST} imports or exports"));
        }
        list.push(plain(name.map_err(|error| plain(&error.to_string()))?));
    }
    Ok(())
}

/// Names are checked by the compiler, which comes later; here they go into messages.
fn plain(text: &str) -> String {
    weft_core::text::one_line(text, NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::plugin::testing::component;

    #[test]
    fn the_names_are_those_of_the_component_itself() {
        let surface = read(&component()).unwrap();
        assert!(surface.imports.contains(&"weft:mapping/log@0.1.0".to_owned()), "{surface:?}");
        assert_eq!(surface.exports, ["weft:mapping/plugin@0.1.0", "weft:mapping/mapper@0.1.0"]);
    }

    #[test]
    fn a_file_that_ends_early_is_no_component() {
        let whole = component();
        for end in [9, whole.len() / 2, whole.len() - 1] {
            assert!(read(&whole[..end]).is_err(), "the first {end} bytes");
        }
        let names = |number: u32| {
            // A section of exports, each a function of index 0 with an empty name.
            let mut body = leb(number);
            (0..number).for_each(|_| body.extend([0, 0, 1, 0, 0]));
            [&b"\0asm\x0d\0\x01\0\x0b"[..], &leb(u32::try_from(body.len()).unwrap()), &body].concat()
        };
        assert_eq!(read(&names(1000)).unwrap().exports.len(), 1000);
        assert!(read(&names(1001)).unwrap_err().contains("more than 1000"));
    }

    fn leb(mut number: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                bytes.push(low);
                return bytes;
            }
            bytes.push(low | 0x80);
        }
    }
}
