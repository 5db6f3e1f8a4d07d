//! The issuers of tokens, and whether their keys can be fetched.

use std::path::Path;

use super::report::Report;
use crate::access::Issuers;

/// Checks the file, and fetches the keys of each issuer.
pub(super) async fn check(file: &Path, report: &mut Report) {
    let issuers = match Issuers::load(file) {
        Ok(issuers) => issuers,
        Err(error) => return error.lines().for_each(|line| report.bad("tokens", line)),
    };
    for (name, found) in issuers.check().await {
        match found {
            Err(error) => report.bad("tokens", &format!("the keys of issuer {name}: {error}")),
            Ok(0) => {
                let text = format!("the JWKS of issuer {name} has no key that fits its algorithm");
                report.bad("tokens", &text);
            }
            Ok(count) => {
                report.good("tokens", &format!("the keys of issuer {name} can be used: {count}"))
            }
        }
    }
}
