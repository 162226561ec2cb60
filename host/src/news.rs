//! What happens to plugins, told to whoever passes it on.

/// Something that has happened to a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Name of the plugin; empty where it is about all.
    pub plugin: String,
    /// Something that an operator has to look at.
    pub is_warning: bool,
    /// Stable, in CamelCase.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl News {
    /// Something that went as it should.
    pub fn good(plugin: &str, reason: &'static str, message: String) -> Self {
        Self { plugin: plugin.to_owned(), is_warning: false, reason, message }
    }

    /// Something that an operator has to look at.
    pub fn bad(plugin: &str, reason: &'static str, message: String) -> Self {
        Self { plugin: plugin.to_owned(), is_warning: true, reason, message }
    }
}
