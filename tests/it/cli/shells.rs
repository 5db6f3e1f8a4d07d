//! Completions and manual pages have every command, and the programs that read them accept them.

use std::path::Path;
use std::process::{Command, Output};

use super::{run, succeed};
use crate::support::folder::Folder;

/// The commands that `--help` lists.
async fn commands(dir: &Path) -> Vec<String> {
    let help = succeed(&["--help"], "", dir, "").await;
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    let lines = list.lines().take_while(|line| !line.trim().is_empty());
    // The text of a command can go on in further lines, which begin deeper.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    let names: Vec<_> = names.filter(|name| name != "help").collect();
    assert!(names.len() > 15 && names.contains(&"tail".to_owned()), "{names:?}");
    names
}

/// The output of a program; `None`, with a note, if it is not installed.
fn output(program: &str, args: &[&str]) -> Option<Output> {
    let ended = Command::new(program).args(args).output();
    if let Err(error) = &ended {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{program}: {error}");
        eprintln!("{program} is not installed: not checked");
    }
    ended.ok()
}

fn expect_quiet(program: &str, args: &[&str]) {
    if let Some(Output { status, stderr, .. }) = output(program, args) {
        assert!(
            status.success() && stderr.is_empty(),
            "{program}: {}",
            String::from_utf8_lossy(&stderr)
        );
    }
}

#[tokio::test]
async fn the_script_of_each_shell_has_every_command_and_loads() {
    let folder = Folder::new("shells");
    let dir = folder.path().to_owned();
    let names = commands(&dir).await;
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = succeed(&["completions", shell], "", &dir, "").await;
        for name in &names {
            assert!(script.contains(name.as_str()), "{shell}: {name} is missing");
        }
        std::fs::write(dir.join(shell), script).expect("a file");
    }
    let path = |shell: &str| dir.join(shell).display().to_string();
    expect_quiet("bash", &["-n", &path("bash")]);
    expect_quiet("zsh", &["-n", &path("zsh")]);
    expect_quiet("fish", &["--no-execute", &path("fish")]);
    assert_eq!(run(&["completions", "tcsh"], "", &dir, "").await.status.code(), Some(2));
}

#[tokio::test]
async fn bash_completes_commands_and_flags() {
    let folder = Folder::new("shells");
    let dir = folder.path().to_owned();
    let script = succeed(&["completions", "bash"], "", &dir, "").await;
    std::fs::write(dir.join("agentbus"), script).expect("a file");
    let complete = |words: &[&str]| {
        let (list, last) = (words.join(" "), words.len() - 1);
        let program = format!(
            "source {}/agentbus; COMP_WORDS=({list}); COMP_CWORD={last}; _agentbus agentbus {:?} {:?}; \
             echo \"${{COMPREPLY[*]}}\"",
            dir.display(),
            words[last],
            words[last - 1],
        );
        let done = output("bash", &["--norc", "-c", &program]).expect("bash is everywhere");
        assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("UTF-8").trim().to_owned()
    };
    assert_eq!(complete(&["agentbus", "tai"]), "tail");
    assert_eq!(complete(&["agentbus", "tail", "--until-c"]), "--until-caught-up");
    assert_eq!(complete(&["agentbus", "queues", "pus"]), "push");
}

#[tokio::test]
async fn each_command_has_a_manual_page() {
    let folder = Folder::new("man");
    let dir = folder.path().to_owned();
    let pages = dir.join("share/man1");
    succeed(&["man", "--dir", pages.to_str().expect("UTF-8")], "", &dir, "").await;
    let text = |name: &str| {
        let path = pages.join(format!("{name}.1"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let main = text("agentbus");
    assert_eq!(succeed(&["man"], "", &dir, "").await, main);
    for name in commands(&dir).await {
        // In a page, a hyphen is escaped.
        let escaped = format!("agentbus\\-{}", name.replace('-', "\\-"));
        assert!(main.contains(&escaped), "{name} is missing in the page of agentbus");
        assert!(text(&format!("agentbus-{name}")).contains(".SH SYNOPSIS"), "{name}");
    }
    assert!(text("agentbus-queues-push").contains("priority"));
    // Examples keep their lines.
    let tail = text("agentbus-tail");
    let (_, notes) = tail.split_once(".nf\n").expect("notes");
    assert!(notes.starts_with("Examples:\n  agentbus tail  "), "{notes}");
    for page in std::fs::read_dir(&pages).expect("a folder") {
        let path = page.expect("an entry").path();
        expect_quiet("groff", &["-k", "-man", "-z", "-ww", path.to_str().expect("UTF-8")]);
    }
}
