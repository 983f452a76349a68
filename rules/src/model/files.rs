// SPDX-License-Identifier: MIT
//! The files that a model names beside its rule files.

use std::path::PathBuf;

use super::Action;
use super::Certificate;
use super::Content;
use super::Model;
use super::Page;
use super::ServiceCertificate;

impl Model {
    /// Certificates, keys, what belongs to them, authorities, users, pages and contents, in no order; some may be there twice.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for service in &self.services {
            let certificates = service.certificates.iter();
            let certificates = certificates.filter_map(ServiceCertificate::files);
            files.extend(certificates.flat_map(Certificate::files).cloned());
            if let Some(clients) = &service.tls.client_certificates {
                files.push(clients.ca.clone());
                files.extend(clients.crl.clone());
            }
            pages(&service.error_pages, &mut files);
            for route in &service.routes {
                pages(&route.error_pages, &mut files);
                files.extend(route.sticky.as_ref().and_then(|sticky| sticky.key.clone()));
                files.extend(route.basic_auth.as_ref().map(|auth| auth.file.clone()));
                if let Action::Respond(respond) = &route.action {
                    content(&respond.body, &mut files);
                }
            }
        }
        for tls in self.pools.iter().filter_map(|pool| pool.tls.as_ref()) {
            files.extend(tls.ca.clone());
            let certificate = tls.certificate.iter();
            files.extend(certificate.flat_map(Certificate::files).cloned());
        }
        if let Some(acme) = &self.acme {
            files.extend(acme.ca.clone());
            files.extend(
                acme.external_account
                    .as_ref()
                    .map(|bound| bound.key.clone()),
            );
        }
        files
    }
}

fn pages(pages: &[Page], files: &mut Vec<PathBuf>) {
    for page in pages {
        content(&page.content, files);
    }
}

fn content(content: &Content, files: &mut Vec<PathBuf>) {
    if let Content::File(path) = content {
        files.push(path.clone());
    }
}
