// SPDX-License-Identifier: MIT
//! The real server and all contenders of a case with TLS, running, and their client.

use std::env;
use std::fs;
use std::path::Path;

use l7switch_qemu_tests::error::Doing as _;
use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::host::tool;
use rcgen::CertifiedKey;

use super::super::CLIENTS;
use super::super::Contender;
use super::super::Programs;
use super::super::Stage;
use super::super::configuration as plain;
use super::super::stage::address;
use super::super::stage::on;
use super::BOTH;
use super::CERTIFICATE;
use super::Case;
use super::Done;
use super::KEY;
use super::Load;
use super::MESSAGE;
use super::NAME;
use super::configuration;
use super::configuration::Place;
use super::h2load;
use super::handshakes;

/// The case in clear text whose real server is these cases' too.
const ORIGIN: &str = "keepalive-128B";

/// A message of gRPC: not compressed, 16 bytes.
const GRPC: &[u8] = b"\0\0\0\0\x10aaaaaaaaaaaaaaaa";

impl Stage<Case> {
    /// Starts all of it.
    pub(super) fn encrypted(case: &'static Case, programs: &Programs) -> Result<Self> {
        let mut stage = Self::empty(case)?;
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]);
        let CertifiedKey { cert, signing_key } =
            made.map_err(|error| Error::Message(error.to_string()))?;
        let (certificate, key) = (cert.pem(), signing_key.serialize_pem());
        stage.write(CERTIFICATE, &certificate)?;
        stage.write(KEY, &key)?;
        stage.write(BOTH, key + &certificate)?;
        stage.write(MESSAGE, GRPC)?;
        for contender in Contender::ALL {
            let line = stage.words(contender, programs)?;
            let once = h2load::once(case, stage.folder(), contender);
            stage.start(contender, &line, || {
                let printed = tool::output(&mut on(CLIENTS, &once));
                printed.is_ok_and(|printed| h2load::done(&printed).is_some())
            })?;
        }
        Ok(stage)
    }

    /// Has the client work for some seconds. Requests are counted in advance, by what a load before has done in its time, so
    /// that all that are begun are ended; where there was none, some may be under way in the end.
    pub(super) fn load(
        &self,
        contender: Contender,
        seconds: u32,
        before: Option<Done>,
    ) -> Result<Done> {
        let case = self.case;
        let line = match case.load {
            Load::Handshakes { resumed } => {
                let program = env::current_exe().doing("find this program")?;
                let certificate = self.folder().join(CERTIFICATE);
                let at = address(contender);
                handshakes::line(&program, &certificate, at, seconds, resumed)
            }
            _ => h2load::line(case, self.folder(), contender, seconds, before),
        };
        let printed = tool::output(&mut on(CLIENTS, &line))?;
        let done = match (case.load, before) {
            (Load::Handshakes { .. }, _) => handshakes::done(&printed),
            (_, Some(_)) => h2load::done(&printed).filter(|_| h2load::agreed(case, &printed)),
            (_, None) => h2load::done(&printed),
        };
        done.ok_or_else(|| Error::Tool {
            tool: line.join(" "),
            output: printed,
        })
    }

    /// Writes a contender's configuration; gives its command line.
    fn words(&self, contender: Contender, programs: &Programs) -> Result<Vec<String>> {
        let place = Place {
            at: address(contender),
            to: address(Contender::Direct),
            grpc: self.case.load == Load::Grpc,
            folder: self.folder().display().to_string(),
        };
        let folder = &place.folder;
        let line = match contender {
            Contender::Direct if place.grpc => {
                let file = self.folder().join("root").join(self.case.path);
                let parent = file.parent().unwrap_or(Path::new("/"));
                fs::create_dir_all(parent).doing_with("make", parent)?;
                fs::write(&file, GRPC).doing_with("write", &file)?;
                let kinds = self.write("mime.types", "application/grpc grpc\n")?;
                return Ok(configuration::nghttpd(&place, &kinds));
            }
            Contender::Direct => return self.origin(super::super::case(ORIGIN)?),
            Contender::Front => {
                let file = self.write("rules.toml", configuration::rules(&place))?;
                format!("{} {file}", programs.front.display())
            }
            Contender::Haproxy => {
                let file = self.write("haproxy.cfg", configuration::haproxy(&place))?;
                format!("haproxy -db -f {file}")
            }
            Contender::Nginx => {
                let file = self.write("nginx.conf", configuration::nginx(&place))?;
                format!("nginx -c {file} -e {folder}/nginx.error")
            }
            Contender::Envoy => {
                let file = self.write("envoy.yaml", configuration::envoy(&place))?;
                return Ok(programs.envoy_line(&file));
            }
            Contender::Traefik => {
                let routes = configuration::traefik_routes(&place);
                let routes = self.write("traefik-routes.toml", routes)?;
                let file = self.write("traefik.toml", plain::traefik(place.at, &routes))?;
                format!("{} --configFile={file}", programs.traefik.display())
            }
        };
        Ok(line.split(' ').map(str::to_owned).collect())
    }
}
