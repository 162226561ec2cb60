//! Builds again when a file is added to the chart, which the program embeds.

fn main() {
    // The files that are embedded are watched by the compiler; new ones are not.
    println!("cargo::rerun-if-changed=../charts/weft");
}
