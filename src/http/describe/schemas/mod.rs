//! The JSON of requests and responses as schemas. The values are never made: bodies are parsed and encoded by hand, and
//! `tests/it/describe` holds these schemas against what the server takes and answers.
#![expect(dead_code, reason = "only their schemas are used")]

/// A value that is one of several.
macro_rules! one_of {
    (#[doc = $doc:literal] $name:ident: $($variant:ident),+) => {
        #[doc = $doc]
        pub struct $name;

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let one_of = utoipa::openapi::schema::OneOfBuilder::new();
                let one_of = one_of.description(Some($doc.trim()));
                $(let one_of = one_of.item(utoipa::openapi::Ref::from_schema_name($variant::name()));)+
                one_of.into()
            }
        }

        impl ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn schemas(all: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
                $(
                    all.push(($variant::name().into(), <$variant as utoipa::PartialSchema>::schema()));
                    $variant::schemas(all);
                )+
            }
        }
    };
}

mod access;
mod base;
mod messages;
mod payload;
mod problem;
mod processing;
mod server;
mod state;
mod work;

pub use access::*;
pub use base::*;
pub use messages::*;
pub use payload::*;
pub use problem::*;
pub use processing::*;
pub use server::*;
pub use state::*;
pub use work::*;
