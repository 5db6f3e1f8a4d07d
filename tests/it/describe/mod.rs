//! The description of the interface (contract, section 12). Whether it describes what the server answers, `support::described`
//! checks for every response of every test; here is the reverse, and what a description says of requests.

mod independent;
mod members;
mod parameters;
mod served;

use agentbus::http::openapi;
use serde_json::Value;

/// An operation of the document.
pub struct Operation {
    /// In upper case.
    pub method: String,
    pub path: &'static str,
    pub value: &'static Value,
}

/// All operations.
pub fn operations() -> Vec<Operation> {
    let paths = openapi()["paths"].as_object().expect("paths");
    let of_path = |(path, item): (&'static String, &'static Value)| {
        let methods = item.as_object().expect("operations").iter();
        methods.map(move |(method, value)| Operation {
            method: method.to_ascii_uppercase(),
            path: path.as_str(),
            value,
        })
    };
    paths.iter().flat_map(of_path).collect()
}
