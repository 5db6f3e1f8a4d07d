//! The `agentbus` binary: parse, run, exit code.

fn main() -> std::process::ExitCode {
    agentbus::cli::main()
}
