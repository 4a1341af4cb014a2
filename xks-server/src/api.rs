//! The services on the API's port: the proxy, and health where a balancer asks for it there.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use xks_http::{ResponseBody, XksService};

use crate::{
    connection::Malformed,
    health::Health,
    metrics::Metrics,
    port::{Answers, Client},
};

pub(crate) struct Api {
    pub(crate) service: XksService,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Answers for Api {
    type Body = Either<Full<Bytes>, ResponseBody>;

    async fn answer(self: Arc<Self>, request: Request<Incoming>, client: Client) -> Response<Self::Body> {
        if let Some(answer) = self.health.answer_on_api(&request) {
            return answer.map(Either::Left);
        }
        let answer = self.service.handle_arrived(request, client.arrival()).await;
        answer.map(Either::Right)
    }

    fn malformed(&self, malformed: Malformed, client: SocketAddr) {
        self.metrics.count_malformed();
        tracing::warn!(
            target: "xks::audit",
            status = malformed.status.as_u16(),
            reason = malformed.reason,
            client = %client,
            "not an HTTP request"
        );
    }
}
