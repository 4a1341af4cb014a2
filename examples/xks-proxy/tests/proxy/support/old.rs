//! Settings files of AWS's sample proxy, in the shapes that HSM vendors' guides give them.

use std::path::PathBuf;

use xks_pkcs11_fixture::softhsm_path;

use super::{Authority, Folder, Leaf, Site, ended, program};

/// A file that is there on every machine that these tests run on, and a folder with what it names.
pub(crate) struct Old {
    pub(crate) folder: Folder,
    pub(crate) text: String,
}

/// The file of that HSM, and the name that its vendor gives the module.
pub(crate) const SHAPES: [(&str, &str, &str); 4] = [
    ("softhsm", include_str!("../old/softhsm.toml"), "libsofthsm2.so"),
    ("nshield", include_str!("../old/nshield.toml"), "libcknfast.so"),
    ("luna", include_str!("../old/luna.toml"), "libCryptoki2_64.so"),
    (
        "cloudhsm",
        include_str!("../old/cloudhsm.toml"),
        "libcloudhsm_pkcs11.so",
    ),
];

impl Old {
    pub(crate) fn new(name: &str) -> Self {
        let (_, text, module) = SHAPES.into_iter().find(|(shape, ..)| *shape == name).unwrap();
        let folder = Folder::new();
        Site::new(&Leaf::SERVER).write(&folder);
        folder.write("roots.pem", &Authority::root("Root of clients").pem());
        let module = match name {
            "softhsm" => softhsm_path(),
            _ => folder.write(module, "some library"),
        };
        let path = |name: &str| folder.path().join(name).display().to_string();
        let text = text
            .replace("LOG-FOLDER", &path("logs"))
            .replace("\"CHAIN\"", &format!("{:?}", path("chain.pem")))
            .replace("\"KEY\"", &format!("{:?}", path("key.pem")))
            .replace("\"ROOTS\"", &format!("{:?}", path("roots.pem")))
            .replace("\"MODULE\"", &format!("{:?}", module.display().to_string()));
        Self { folder, text }
    }

    /// With another line in the place of one.
    pub(crate) fn with(mut self, line: &str, other: &str) -> Self {
        assert!(self.text.contains(line), "{line} is not in {}", self.text);
        self.text = self.text.replacen(line, other, 1);
        self
    }

    pub(crate) fn write(&self) -> PathBuf {
        self.folder.write("settings_old.toml", &self.text)
    }

    pub(crate) fn check(&self) -> (Option<i32>, String) {
        let (code, printed, _) = ended(program().arg("check").arg(self.write()));
        (code, printed)
    }

    /// Our format, as text and as values. It passes `check`.
    pub(crate) fn converted(&self) -> (String, toml::Value) {
        let (code, text, log) = ended(program().arg("convert").arg(self.write()));
        assert_eq!(code, Some(0), "{log}");
        let file = self.folder.write("converted.toml", &text);
        let (code, printed, _) = ended(program().arg("check").arg(file));
        assert_eq!(code, Some(0), "{printed}{text}");
        let values = toml::Value::Table(text.parse().expect(&text));
        (text, values)
    }
}
