//! Events of plugins, for operators.

/// An event of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginEvent {
    /// Name of the plugin; empty where it is about all.
    pub plugin: String,
    /// Something that an operator has to act on.
    pub is_warning: bool,
    /// Stable, in CamelCase.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl PluginEvent {
    /// Something that went as it should.
    pub fn normal(plugin: &str, reason: &'static str, message: String) -> Self {
        Self { plugin: plugin.to_owned(), is_warning: false, reason, message }
    }

    /// Something that an operator has to act on.
    pub fn warning(plugin: &str, reason: &'static str, message: String) -> Self {
        Self { plugin: plugin.to_owned(), is_warning: true, reason, message }
    }
}
