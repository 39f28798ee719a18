//! What the HTTP servers have in common: finding the program, a free port, waiting for the first
//! answer, and an end that leaves no process behind.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use headwater::http;

/// How long a server may take from its start to its first answer, and to its end, on a busy
/// machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks at whether something has come true.
const POLL: Duration = Duration::from_millis(20);

/// Another process can take a free port between our look and the server's bind: then try another.
const START_ATTEMPTS_MAX: u32 = 5;

/// A running program that serves HTTP on `port`. Ends with its owner.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    /// The TCP port that it listens on.
    pub(crate) port: u16,
}

impl Process {
    /// Starts `program` on a free port, with the arguments for that port, and waits until it is
    /// ready. `None` if the program is not installed, which is said on standard error, and is a
    /// failure under `CI`.
    pub(crate) async fn start(
        program: &str,
        directory: &Path,
        arguments: impl Fn(u16) -> Vec<String>,
    ) -> Option<Process> {
        if !in_path(program) {
            let missing = format!("{program} is not in PATH");
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            eprintln!("SKIPPED: {missing}");
            return None;
        }
        Some(Process::start_here(program, directory, arguments).await)
    }

    /// The same for a program that is there for sure, by its path.
    pub(crate) async fn start_here(
        program: &str,
        directory: &Path,
        arguments: impl Fn(u16) -> Vec<String>,
    ) -> Process {
        for _ in 0..START_ATTEMPTS_MAX {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let port = listener.local_addr().expect("a bound listener has an address").port();
            drop(listener);
            if let Some(process) = Process::launch(program, directory, &arguments(port), port).await
            {
                return process;
            }
        }
        panic!("no {program} came up in {START_ATTEMPTS_MAX} attempts");
    }

    /// Starts the program on a given port; `None` if it ended instead because the port was taken.
    pub(crate) async fn launch(
        program: &str,
        directory: &Path,
        arguments: &[String],
        port: u16,
    ) -> Option<Process> {
        let log = directory.join("log");
        let output = fs::File::create(&log).expect("the temporary directory is writable");
        let child = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be cloned"))
            .stderr(output)
            .spawn()
            .expect("a program in PATH can be run");
        let mut process = Process { child, log, port };
        let client = http::client(Duration::from_secs(5)).expect("a client can be made");
        let deadline = Instant::now() + DEADLINE;
        loop {
            let ready = client.get(process.url("-/ready")).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return Some(process);
            }
            if process.child.try_wait().expect("a child can be asked").is_some() {
                let words = process.words();
                let port_was_taken = words.to_lowercase().contains("address already in use");
                assert!(port_was_taken, "{program} ended: {words}");
                return None;
            }
            assert!(Instant::now() < deadline, "{program} does not answer: {}", process.words());
            tokio::time::sleep(POLL).await;
        }
    }

    /// An address on the server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Asks the program to end, as an operator would, and waits for it.
    pub(crate) fn terminate(mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.is_ok_and(|status| status.success()), "the program still runs");
        let deadline = Instant::now() + DEADLINE;
        while self.child.try_wait().expect("a child can be asked").is_none() {
            assert!(Instant::now() < deadline, "the program does not end: {}", self.words());
            std::thread::sleep(POLL);
        }
    }

    /// The id under which `/proc` knows it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the program said.
    pub(crate) fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `look` gives something, and gives that; panics after the deadline, naming `what`.
pub(crate) async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Gets JSON; panics if the server answers anything else.
pub(crate) async fn get_json(url: &str) -> serde_json::Value {
    let client = http::client(Duration::from_secs(10)).expect("a client can be made");
    let answer = client.get(url).send().await.expect("the server answers");
    let status = answer.status();
    let text = answer.text().await.expect("the answer has a body");
    assert!(status.is_success(), "{url} answered {status}: {text}");
    serde_json::from_str(&text).expect("the answer is JSON")
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
