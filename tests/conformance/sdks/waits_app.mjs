// Functions of the official npm SDK that wait for events and signals, and that events end. Run from a folder with node_modules.

import http from "node:http";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { Inngest } = require("inngest");
const { serve } = require("inngest/node");

const ran = [];

function app(id, options) {
  const client = new Inngest({ id, ...options });
  const fn = (name, config, body) =>
    client.createFunction({ id: name, triggers: [{ event: `${id}/${name}` }], retries: 0, ...config }, body);
  return {
    client,
    functions: [
      fn("waits", {}, async ({ event, step }) => {
        const paid = await step.waitForEvent("paid", {
          event: `${id}/paid`,
          timeout: event.data.timeout,
          if: "event.data.order == async.data.order && async.data.amount > 10",
        });
        return paid && [paid.name, paid.data];
      }),
      fn("matches", {}, async ({ step }) => {
        const paid = await step.waitForEvent("paid", { event: `${id}/paid`, timeout: "1h", match: "data.order" });
        return paid.data.amount;
      }),
      fn("asks", {}, async ({ event, step }) => {
        const { signal, timeout, onConflict } = event.data;
        return step.waitForSignal("answer", { signal, timeout, onConflict });
      }),
      fn("answers", {}, async ({ event, step }) => {
        return step.sendSignal("send", { signal: event.data.signal, data: event.data.data });
      }),
      fn("endable", { cancelOn: [{ event: `${id}/end`, if: "async.data.order == event.data.order" }] }, async ({ step }) => {
        await step.sleep("long", "1h");
      }),
      client.createFunction(
        {
          id: "cleans",
          triggers: [
            { event: "inngest/function.cancelled", if: `event.data.function_id == '${id}-endable'` },
          ],
        },
        async ({ event, step }) => step.run("clean", () => void ran.push(`${id}:cleaned ${event.data.event.data.order}`)),
      ),
    ],
  };
}

const apps = {
  "/api/inngest": serve(app("node")),
  "/api/plain": serve(app("plain", { checkpointing: false })),
};

const server = http.createServer((request, response) => {
  const path = new URL(request.url, "http://h").pathname;
  if (path === "/ran") return response.end(JSON.stringify({ ran }));
  return apps[path] ? apps[path](request, response) : response.writeHead(404).end();
});
server.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
