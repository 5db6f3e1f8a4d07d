//! `GET /v1/audit`: who did what (contract, section 11).

use axum::extract::RawQuery;
use axum::response::Response;

use super::encode::json;
use super::params;
use super::problem::Problem;
use super::request::Call;

/// A page of the audit log.
pub(super) async fn page(
    Call { services, context }: Call,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (after, limit) = params::audit(query.as_deref())?;
    Ok(json(&services.audit.page(context.principal(), after, limit).await?))
}
