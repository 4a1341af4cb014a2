//! The caller of KMS, as `requestMetadata` has it.

/// The caller of KMS. A proxy gets it in `requestMetadata`, and may decide by it.
///
/// ```
/// use kms_double::kms::Caller;
///
/// let alice = Caller::new("arn:aws:iam::111122223333:user/Alice");
/// let s3_for_bob = Caller::new("arn:aws:iam::111122223333:user/Bob")
///     .via_service("s3.us-east-1.amazonaws.com")
///     .from_vpc("vpc-0123456789abcdef0", "vpce-0123456789abcdef0");
/// # let _ = (alice, s3_for_bob);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub(crate) principal_arn: String,
    pub(crate) via_service: Option<String>,
    pub(crate) vpc: Option<(String, String)>,
    pub(crate) request_id: Option<String>,
}

impl Caller {
    /// Creates a caller of a principal: an ARN, a service principal such as `ec2.amazonaws.com`, or `AWS
    /// Internal`.
    pub fn new(principal_arn: impl Into<String>) -> Self {
        Self {
            principal_arn: principal_arn.into(),
            via_service: None,
            vpc: None,
            request_id: None,
        }
    }

    /// Returns the principal's ARN.
    #[must_use]
    pub fn principal_arn(&self) -> &str {
        &self.principal_arn
    }

    /// Sets the AWS service that calls for the principal.
    #[must_use]
    pub fn via_service(mut self, service: impl Into<String>) -> Self {
        self.via_service = Some(service.into());
        self
    }

    /// Sets the VPC and the endpoint that the call comes through.
    #[must_use]
    pub fn from_vpc(mut self, vpc: impl Into<String>, endpoint: impl Into<String>) -> Self {
        self.vpc = Some((vpc.into(), endpoint.into()));
        self
    }

    /// Sets the id of the request; otherwise each call gets one of its own.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }
}
