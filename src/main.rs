//! The `agentbus` binary: parse, run, exit code.

/// Small allocations that end on another thread than they began on are much of
/// what a message costs: with 64 clients the C library's allocator took 28 % of
/// the processor for them, this one 16 % (`perf record` of each).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    agentbus::cli::main()
}
