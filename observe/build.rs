//! Compresses the page, and makes link settings for the Node addon: without the `binding` feature there is nothing to set up.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() -> std::io::Result<()> {
    compress_page()?;
    if std::env::var_os("CARGO_FEATURE_BINDING").is_some() {
        napi_build::setup();
    }
    Ok(())
}

/// The page as browsers take it.
fn compress_page() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=page.html");
    let page = std::fs::read("page.html")?;
    let directory = std::env::var_os("OUT_DIR").unwrap_or_default();
    let file = std::fs::File::create(Path::new(&directory).join("page.html.gz"))?;
    let mut encoder = GzEncoder::new(file, Compression::best());
    encoder.write_all(&page)?;
    encoder.finish().map(drop)
}
