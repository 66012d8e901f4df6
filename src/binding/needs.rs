//! What the core needs of the runtime that loads it.

#![cfg_attr(test, allow(dead_code, reason = "a build for tests registers nothing with Node-API"))]

use libloading::os::unix::Library;
use napi_derive::napi;

/// The functions of Node-API that the core calls, by itself or by napi-rs. One that is missing there is an error of the first
/// call, of which not every caller survives.
const FUNCTIONS: &[&str] = &[
    "napi_add_env_cleanup_hook",
    "napi_call_function",
    "napi_call_threadsafe_function",
    "napi_close_handle_scope",
    "napi_create_array_with_length",
    "napi_create_buffer_copy",
    "napi_create_double",
    "napi_create_external_buffer",
    "napi_create_function",
    "napi_create_int32",
    "napi_create_int64",
    "napi_create_object",
    "napi_create_reference",
    "napi_create_string_latin1",
    "napi_create_string_utf16",
    "napi_create_string_utf8",
    "napi_create_threadsafe_function",
    "napi_create_uint32",
    "napi_define_class",
    "napi_define_properties",
    "napi_delete_reference",
    "napi_fatal_exception",
    "napi_get_and_clear_last_exception",
    "napi_get_array_length",
    "napi_get_boolean",
    "napi_get_buffer_info",
    "napi_get_cb_info",
    "napi_get_element",
    "napi_get_global",
    "napi_get_named_property",
    "napi_get_reference_value",
    "napi_get_typedarray_info",
    "napi_get_undefined",
    "napi_get_uv_event_loop",
    "napi_get_value_bool",
    "napi_get_value_double",
    "napi_get_value_int32",
    "napi_get_value_string_utf16",
    "napi_get_value_string_utf8",
    "napi_get_value_uint32",
    "napi_has_own_property",
    "napi_is_exception_pending",
    "napi_make_callback",
    "napi_new_instance",
    "napi_open_handle_scope",
    "napi_release_threadsafe_function",
    "napi_set_named_property",
    "napi_strict_equals",
    "napi_throw",
    "napi_typeof",
    "napi_unref_threadsafe_function",
    "napi_unwrap",
    "napi_wrap",
];

/// The first function of Node-API that the core needs and this process does not have, if there is one. Nothing is called to find
/// out.
#[napi]
pub fn missing_function() -> Option<String> {
    let process = Library::this();
    let is_there = |name: &str| {
        // SAFETY: the symbol is looked up and not used.
        unsafe { process.get::<*const ()>(name.as_bytes()) }.is_ok()
    };
    FUNCTIONS.iter().find(|name| !is_there(name)).map(|name| (*name).to_owned())
}
