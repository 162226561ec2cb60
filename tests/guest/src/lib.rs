//! A component that misbehaves as the object that it is asked about tells it to.
//!
//! `guest.test/do` names the deed on the way to the host, `guest.test/back` the one on the way back, and
//! `guest.test/with` gives what it needs, as JSON text. An object without them is left as it is. What goes wrong
//! while the component is loaded is chosen by its settings (`configure`) or, for `describe`, which nothing
//! reaches, by a feature of the crate.

mod bindings;
mod deeds;
mod describe;
mod exhaust;

use bindings::exports::weft::mapping::mapper::{self, Outcome, Request};
use bindings::exports::weft::mapping::plugin::{self, Descriptor, Problem};
use bindings::weft::mapping::log;
use serde_json::Value;

/// The component.
struct Guest;

impl plugin::Guest for Guest {
    fn describe() -> Descriptor {
        describe::describe()
    }

    fn configure(settings: String) -> Result<(), Vec<Problem>> {
        let settings: Value = serde_json::from_str(&settings).unwrap_or_default();
        std::panic::set_hook(Box::new(|info| {
            log::write(log::Level::Error, &format!("panicked: {info}"), &[]);
        }));
        match settings.get("configure").and_then(Value::as_str) {
            Some("spin") => exhaust::spin(),
            Some("grow") => exhaust::grow(),
            Some("trap") => exhaust::trap(),
            Some("refuse") => Err(vec![deeds::ugly_problem()]),
            Some("flood") => Err((0..10_000).map(|turn| deeds::problem(&turn.to_string())).collect()),
            _ => Ok(()),
        }
    }
}

impl mapper::Guest for Guest {
    fn to_host(request: Request) -> Outcome {
        deeds::act(&request, "guest.test/do")
    }

    fn to_virtual(request: Request) -> Outcome {
        deeds::act(&request, "guest.test/back")
    }
}

bindings::export!(Guest with_types_in bindings);
