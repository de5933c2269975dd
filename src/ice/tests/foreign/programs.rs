//! coturn's server and a peer of aioice, each ended with its value.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use postern_ice::io::Role;
use postern_ice::sdp::{Attributes, Description};

pub struct Coturn {
    pub address: SocketAddr,
    process: Child,
}

impl Coturn {
    /// With a user `worker` and the password `secret`; `None` when it is not installed.
    pub fn start(ip: IpAddr) -> Option<Self> {
        let port = UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        let address = SocketAddr::new(ip, port);
        let spawned = Command::new("turnserver")
            .args(["-n", "--log-file=stdout", "--no-cli", "--no-tls", "--no-dtls", "--lt-cred-mech"])
            .args(["--user=worker:secret", "--realm=example.test", "--allow-loopback-peers", "--pidfile=/dev/null"])
            .arg(format!("--listening-ip={ip}"))
            .arg(format!("--relay-ip={ip}"))
            .arg(format!("--listening-port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = spawned else {
            println!("left out: turnserver of coturn is not installed");
            return None;
        };
        let coturn = Self { address, process };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "coturn does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(coturn)
    }

    pub fn stop(&mut self) {
        // Ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An address of this machine that is not a loopback one; nothing is sent to find it.
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let found = socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr());
    match found.map(|address| address.ip()) {
        Ok(ip) if !ip.is_loopback() && !ip.is_unspecified() => Some(ip),
        _ => {
            println!("left out: this machine has no address but loopback");
            None
        }
    }
}

/// Reads our description, connects, and echoes what comes.
const PEER: &str = r#"
import asyncio, sys
import aioice

async def main():
    connection = aioice.Connection(ice_controlling=sys.argv[1] == "controlling", use_ipv6=False)
    await connection.gather_candidates()
    print("ice-ufrag", connection.local_username)
    print("ice-pwd", connection.local_password)
    for candidate in connection.local_candidates:
        print("candidate", candidate.to_sdp())
    print("end-of-candidates", "", flush=True)
    loop = asyncio.get_running_loop()
    while True:
        name, _, value = (await loop.run_in_executor(None, sys.stdin.readline)).rstrip("\n").partition(" ")
        if name == "ice-ufrag":
            connection.remote_username = value
        elif name == "ice-pwd":
            connection.remote_password = value
        elif name == "candidate":
            await connection.add_remote_candidate(aioice.Candidate.from_sdp(value))
        elif name == "end-of-candidates":
            break
    await connection.add_remote_candidate(None)
    await connection.connect()
    while True:
        await connection.send(await connection.recv())

asyncio.run(asyncio.wait_for(main(), 60))
"#;

pub struct Aioice {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Aioice {
    /// In the role that is not the agent's; `None` when it is not installed.
    pub fn start(agent: Role) -> Option<Self> {
        let python = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tests/venv/bin/python");
        let role = if agent == Role::Controlling { "controlled" } else { "controlling" };
        let installed = Command::new(&python).args(["-c", "import aioice"]).stderr(Stdio::null()).status();
        if !installed.is_ok_and(|status| status.success()) {
            println!("left out: aioice is not installed under target/tests/venv");
            return None;
        }
        let mut process = Command::new(&python)
            .args(["-c", PEER, role])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Some(Self { process, input, output })
    }

    pub fn description(&mut self) -> Description {
        let mut attributes = Attributes::default();
        while !attributes.end_of_candidates {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "aioice ended");
            let (name, value) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
            assert!(attributes.take(name, value), "{line}");
        }
        attributes.description(Vec::new()).unwrap()
    }

    pub fn hear(&mut self, description: &Description) {
        for (name, value) in description.attributes() {
            writeln!(self.input, "{name} {value}").unwrap();
        }
        writeln!(self.input, "end-of-candidates").unwrap();
        self.input.flush().unwrap();
    }
}

impl Drop for Aioice {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
