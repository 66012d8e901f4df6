//! Link settings for the Node addon. Without the `binding` feature there is nothing to set up.

fn main() {
    if std::env::var_os("CARGO_FEATURE_BINDING").is_some() {
        napi_build::setup();
    }
}
