//! A component that misbehaves as annotations of the object say.
//!
//! `guest.test/do` names the action of `to-host`, `guest.test/back` that of `to-virtual`, and `guest.test/with` is its
//! argument, as JSON. Without them the draft is not changed. Failures at load time are chosen by the settings
//! (`configure`) or, for `describe`, which has no input, by a feature of the crate.

mod actions;
mod bindings;
mod describe;
mod exhaust;
#[cfg(feature = "worst")]
mod printing;

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
            Some("refuse") => Err(vec![actions::ugly_problem()]),
            Some("flood") => Err((0..10_000).map(|turn| actions::problem(&turn.to_string())).collect()),
            _ => Ok(()),
        }
    }
}

impl mapper::Guest for Guest {
    fn to_host(request: Request) -> Outcome {
        actions::act(&request, "guest.test/do")
    }

    fn to_virtual(request: Request) -> Outcome {
        actions::act(&request, "guest.test/back")
    }
}

bindings::export!(Guest with_types_in bindings);
