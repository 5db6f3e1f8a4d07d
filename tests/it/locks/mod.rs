//! NATS and PostgreSQL with locks of their own: agentbus with the permissions that the documents list, and no others; all
//! ways to authenticate; two tenants on the same servers.

mod credentials;
mod doctor;
mod document;
mod jwt;
mod permissions;
mod roles;
mod tenants;
