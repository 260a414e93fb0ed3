//! The Model Context Protocol on stdin and stdout: each verb is a tool.

use std::sync::Arc;

use anyhow::{Context, Result};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::child::Running;
use super::verb::{Effect, VERBS, Verb, find};

/// Most verbs at once.
const AT_ONCE: usize = 8;

const INSTRUCTIONS: &str = "kvmc runs clusters of virtual machines on this host. Begin with `clusters` and `status`. \
An answer has `exit` (0 done, 1 failed, 2 wrong usage or, from plan, there are changes, 3 some nodes failed, 4 no such \
cluster or node), `report` and `messages`, which name the cure of an error. Ask the user before `down` and `exec`.";

/// Serves until the client closes stdin. Verbs that run then are interrupted.
///
/// # Errors
/// Fails if the client breaks the protocol before it is ready.
pub(crate) async fn mcp(cluster: Option<String>) -> Result<()> {
    let door = Door {
        cluster,
        room: Arc::new(Semaphore::new(AT_ONCE)),
    };
    let service = door.serve(rmcp::transport::io::stdio_pipes()).await;
    let service = service.context("the client does not speak the Model Context Protocol")?;
    service.waiting().await.context("the connection failed")?;
    Ok(())
}

#[derive(Debug)]
struct Door {
    /// The cluster of calls that name none.
    cluster: Option<String>,
    room: Arc<Semaphore>,
}

impl ServerHandler for Door {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new("kvmc", env!("CARGO_PKG_VERSION"));
        info.instructions = Some(INSTRUCTIONS.to_owned());
        info
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(
            VERBS.iter().map(tool).collect(),
        ))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let wrong = |why| ErrorData::invalid_params(why, None);
        let verb = find(&request.name).map_err(wrong)?;
        let arguments = request.arguments.unwrap_or_default();
        let _room = self.room.acquire().await;
        let cancelled = context.ct.cancelled();
        let result = match self.run(verb, &arguments, cancelled).await {
            Ok(answer) => told(verb, answer),
            Err(why) => CallToolResult::error(vec![ContentBlock::text(why)]),
        };
        Ok(result.into())
    }
}

impl Door {
    /// The answer of a verb, or why there is none.
    async fn run(
        &self,
        verb: &Verb,
        arguments: &Map<String, Value>,
        cancelled: impl Future<Output = ()>,
    ) -> Result<Value, String> {
        let call = verb.call(arguments, self.cluster.as_deref())?;
        let mut running = Running::start(&call).map_err(|e| format!("{e:#}"))?;
        let pid = running.handle();
        let answer = running.answer();
        let interrupt = async {
            cancelled.await;
            pid.interrupt();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = answer => answer.map_err(|e| format!("{e:#}")),
            () = interrupt => Err("cancelled".to_owned()),
        }
    }
}

fn tool(verb: &Verb) -> Tool {
    let hints = ToolAnnotations::new()
        .read_only(verb.effect == Effect::Reads)
        .destructive(verb.effect == Effect::Destroys)
        .idempotent(verb.name != "exec")
        .open_world(verb.name == "exec");
    Tool::new(verb.name, verb.about, Arc::new(verb.schema())).annotate(hints)
}

fn told(verb: &Verb, answer: Value) -> CallToolResult {
    let exit = answer.get("exit").and_then(Value::as_i64);
    let has_report = answer.get("report").is_some_and(Value::is_object);
    // `plan` ends with 2 when there are changes.
    let is_fine = exit == Some(0) || (verb.name == "plan" && exit == Some(2) && has_report);
    let mut result = CallToolResult::structured(answer);
    result.is_error = Some(!is_fine);
    result
}
