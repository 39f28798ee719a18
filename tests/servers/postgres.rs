//! A PostgreSQL server of one's own: a fresh cluster in a temporary directory, started on a free
//! port and removed on drop. Knows nothing of the fleet's tables.

use std::{
    fs,
    io::{ErrorKind, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a server may take from its start to its first answer, and to its end, on a busy
/// machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks at whether a server is ready, or gone.
const POLL: Duration = Duration::from_millis(20);

/// Another process can take a free port between our look and the server's bind: then try another.
const START_ATTEMPTS_MAX: u32 = 5;

/// A Unix socket's path has at most some 100 bytes, and ours stands in the temporary directory.
const DIRECTORY_LENGTH_MAX: usize = 50;

/// A running server. Its superuser is `postgres`, everybody is trusted, `pg_stat_statements` is
/// preloaded and part of every database. Keep it in a variable of the test, not in a static:
/// statics are never dropped, and the server would stay.
pub(crate) struct Postgres {
    child: Child,
    port: u16,
    binaries: PathBuf,
    directory: TempDir,
}

impl Postgres {
    /// Starts a server with further `settings` (`"max_connections=20"`), which win over ours.
    /// `None` if PostgreSQL is not installed, which is said on standard error, and is a failure
    /// under `CI`.
    pub(crate) fn start(settings: &[&str]) -> Option<Postgres> {
        let Some(binaries) = binaries() else {
            let missing = "PostgreSQL's initdb and postgres are neither in PATH nor in \
                           /usr/lib/postgresql/*/bin";
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            eprintln!("SKIPPED: {missing}");
            return None;
        };
        let owner = owner();
        for _ in 0..START_ATTEMPTS_MAX {
            let directory = directory(owner);
            initialize(&binaries, directory.path(), owner);
            if let Some(server) = launch(&binaries, directory, owner, settings) {
                if !settings.iter().any(|setting| setting.starts_with("shared_preload_libraries")) {
                    let create = "CREATE EXTENSION pg_stat_statements";
                    server.psql_in("template1", create);
                    server.psql_in("postgres", create);
                }
                return Some(server);
            }
        }
        panic!("no PostgreSQL server came up in {START_ATTEMPTS_MAX} attempts");
    }

    /// How sqlx and others connect by TCP.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// The TCP port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Creates a database and returns its name.
    pub(crate) fn create_database<'a>(&self, name: &'a str) -> &'a str {
        self.psql(&format!("CREATE DATABASE \"{name}\""));
        name
    }

    /// Runs statements in the database `postgres` as its superuser, each in its own transaction.
    pub(crate) fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql)
    }

    /// Runs statements in `database` as superuser and returns their rows: a line each, columns
    /// parted by `|`, no headings. Panics with the server's words if one fails.
    pub(crate) fn psql_in(&self, database: &str, sql: &str) -> String {
        let output = self.psql_output(database, sql);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql in {database} failed: {errors}\n{sql}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Cuts the server off and starts it again as a standby that hears of no primary. It replays
    /// what it had logged since its start and stands still at the last commit that reached the
    /// disk: make one with `SET synchronous_commit = on`.
    pub(crate) fn become_standby(&mut self) {
        self.stop();
        let signal = self.directory.path().join("data/standby.signal");
        fs::write(&signal, "").expect("the cluster's directory is writable");
        if let Some((user, group)) = owner() {
            chown(signal, Some(user), Some(group)).expect("root gives files away");
        }
        self.child = spawn(&self.binaries, self.directory.path(), self.port, owner(), &[]);
        assert!(self.answers(), "another process has taken port {}", self.port);
    }

    /// Waits until the server answers; `false` if it ended instead because its port was taken.
    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + DEADLINE;
        let log_path = self.directory.path().join("log");
        while !self.psql_output("postgres", "SELECT 1").status.success() {
            let ended = self.child.try_wait().expect("a child can be asked");
            let log = || fs::read_to_string(&log_path).unwrap_or_default();
            if ended.is_some() {
                assert!(log().contains("Address already in use"), "postgres ended: {}", log());
                return false;
            }
            assert!(Instant::now() < deadline, "postgres does not answer: {}", log());
            std::thread::sleep(POLL);
        }
        true
    }

    fn stop(&mut self) {
        // SIGQUIT is PostgreSQL's immediate shutdown: its children end with it and its shared
        // memory is released, which SIGKILL would not do.
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-QUIT", &pid]).status();
        let deadline = Instant::now() + DEADLINE;
        while asked.as_ref().is_ok_and(|status| status.success()) && Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(POLL),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn psql_output(&self, database: &str, sql: &str) -> Output {
        let mut child = Command::new(self.binaries.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"])
            .args(["-U", "postgres", "-d", database])
            // By our own socket: a stranger's server on the same port cannot answer there.
            .arg("-h")
            .arg(self.directory.path())
            .args(["-p", &self.port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql stands beside postgres");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // A psql that finds no server ends without reading: its status and its words tell.
        let written = stdin.write_all(sql.as_bytes());
        let unread = written.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe);
        assert!(written.is_ok() || unread, "psql does not read its standard input: {written:?}");
        drop(stdin);
        child.wait_with_output().expect("psql ends")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        let _ = &self.directory;
    }
}

/// Where `initdb`, `postgres` and `psql` are: in `PATH`, or where Debian hides them, newest first.
fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by(|left, right| right.cmp(left));
    candidates.extend(versions.into_iter().map(|(_, path)| path));
    candidates.into_iter().find(|directory| {
        ["initdb", "postgres", "psql"].iter().all(|name| directory.join(name).is_file())
    })
}

/// The user and group that must run the server: PostgreSQL refuses to run as root, so root lends it
/// the user `postgres`, which its packages create. `None`: whoever runs the test.
fn owner() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    if id(&["-u"])? != 0 {
        return None;
    }
    let user = id(&["-u", "postgres"]).expect("as root, a user named postgres to run the server");
    let group = id(&["-g", "postgres"]).expect("a group of the user postgres");
    Some((user, group))
}

fn directory(owner: Option<(u32, u32)>) -> TempDir {
    let usual = std::env::temp_dir();
    let fits = usual.as_os_str().len() < DIRECTORY_LENGTH_MAX;
    let parent = if fits { usual } else { PathBuf::from("/tmp") };
    let directory = tempfile::Builder::new()
        .prefix("headwater-postgres-")
        .tempdir_in(parent)
        .expect("a temporary directory can be made");
    if let Some((user, group)) = owner {
        chown(directory.path(), Some(user), Some(group)).expect("root gives directories away");
    }
    directory
}

fn command(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    // The current directory may be closed to the server's user.
    command.current_dir("/").stdin(Stdio::null());
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

fn initialize(binaries: &Path, directory: &Path, owner: Option<(u32, u32)>) {
    let output = command(&binaries.join("initdb"), owner)
        .arg("-D")
        .arg(directory.join("data"))
        .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])
        .output()
        .expect("initdb can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "initdb failed: {errors}");
}

/// Starts the server and waits until it answers; `None` if it ended instead because its port was
/// taken.
fn launch(
    binaries: &Path,
    directory: TempDir,
    owner: Option<(u32, u32)>,
    settings: &[&str],
) -> Option<Postgres> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("a bound listener has an address").port();
    drop(listener);
    let child = spawn(binaries, directory.path(), port, owner, settings);
    let mut server = Postgres { child, port, binaries: binaries.to_owned(), directory };
    server.answers().then_some(server)
}

fn spawn(
    binaries: &Path,
    directory: &Path,
    port: u16,
    owner: Option<(u32, u32)>,
    settings: &[&str],
) -> Child {
    let log = fs::File::create(directory.join("log")).expect("the directory is writable");
    let mut server = command(&binaries.join("postgres"), owner);
    server.arg("-D").arg(directory.join("data"));
    // Nothing has to survive a crash of the machine.
    let ours = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];
    let preload = "shared_preload_libraries=pg_stat_statements";
    let sockets = format!("unix_socket_directories={}", directory.display());
    let port_setting = format!("port={port}");
    let places = ["listen_addresses=127.0.0.1", &port_setting, &sockets, preload];
    for setting in places.iter().chain(&ours).chain(settings) {
        server.args(["-c", setting]);
    }
    server
        .stdout(log.try_clone().expect("a file handle can be cloned"))
        .stderr(log)
        .spawn()
        .expect("postgres can be run")
}

#[test]
fn a_server_runs_statements_and_leaves_nothing_behind() {
    let Some(server) = Postgres::start(&["max_connections=7"]) else { return };
    assert_eq!(server.psql("SHOW max_connections"), "7");
    let name = server.create_database("some fleet");
    assert_eq!(server.psql_in(name, "SELECT 'one'; SELECT 2, NULL, 'b'"), "one\n2||b");
    let counted = server.psql_in(name, "SELECT count(*) > 0 FROM pg_stat_statements");
    assert_eq!(counted, "t");
    let url = format!("postgres://ops@127.0.0.1:{}/fleet", server.port());
    assert_eq!(server.url("ops", "fleet"), url);
    let directory = server.directory.path().to_owned();
    let process = PathBuf::from(format!("/proc/{}", server.child.id()));
    assert!(process.exists() || !Path::new("/proc").exists());
    drop(server);
    assert!(!directory.exists());
    assert!(!process.exists());
}
