//! stand-in
pub async fn run(args: super::serve_args::DoctorArgs) -> Result<std::process::ExitCode, String> {
    Err(format!("{args:?}"))
}
