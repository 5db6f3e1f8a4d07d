//! `GET /v1/audit`: who did what (contract, section 11).

use axum::extract::RawQuery;
use axum::response::Response;

use super::describe::{params as described, schemas};
use super::encode::json;
use super::params;
use super::problem::Problem;
use super::request::Call;
use crate::services::Code;

/// A page of the audit log.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "Access",
    params(described::AuditRange),
    responses((status = 200, description = "A page of the audit log.", body = schemas::AuditPage)),
    extensions(("x-codes" = json!([Code::StoreUnavailable]))),
)]
pub(super) async fn page(
    Call { services, context }: Call,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (after, limit) = params::audit(query.as_deref())?;
    Ok(json(&services.audit.page(context.principal(), after, limit).await?))
}
