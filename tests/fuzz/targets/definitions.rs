//! Definitions of custom resources, and objects of them.
#![no_main]

use api::Tree;
use api::custom::schema::Schema;
use api::custom::validate;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let trees = fuzz::trees(bytes);
    let Some((schema, objects)) = trees.split_first() else { return };
    let resource = &api::resource::CUSTOM_RESOURCE_DEFINITIONS;
    let kind = api::kinds::find(resource).expect("built in");
    fuzz::store(kind, schema.clone());
    let schema = Schema::read(schema);
    for object in objects {
        let _: Vec<_> = validate::check_value(&schema, object);
        let _: &Tree = object;
    }
});
