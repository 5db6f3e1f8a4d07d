//! Files with a secret, which their owner alone may read.

use std::io::Read as _;
use std::path::Path;

/// What a file holds, without the end of its last line; `None` if there is no such file.
///
/// # Errors
/// It cannot be read; others may read it; it is longer than `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, String> {
    let text = |error: std::io::Error| error.to_string();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(text(error)),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata().map_err(text)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err("others may read or change it; set its mode to 0600".to_owned());
        }
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(text)?;
    if bytes.len() as u64 > most {
        return Err(format!("is longer than {most} bytes"));
    }
    for end in [b'\n', b'\r'] {
        bytes.pop_if(|last| *last == end);
    }
    Ok(Some(bytes))
}
