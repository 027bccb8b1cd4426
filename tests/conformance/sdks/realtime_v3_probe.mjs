// `@inngest/realtime`, the client's package of its own for version 3 of the SDK: a function publishes, in a step and
// outside of one, and a front end with a token reads along. What it got is printed, a line of JSON each. Run from a folder
// with node_modules.

import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { getSubscriptionToken, subscribe } = require("@inngest/realtime");
const { realtimeMiddleware } = require("@inngest/realtime/middleware");
const { Inngest } = require("inngest-v3");
const { serve } = require("inngest-v3/node");

const inngest = new Inngest({ id: "third", isDev: true, baseUrl: process.argv[2], middleware: [realtimeMiddleware()] });
const place = { channel: "order/1", topic: "progress" };
const tells = inngest.createFunction({ id: "tells" }, { event: "tell" }, async ({ publish, step }) => {
  await publish({ ...place, data: { n: 1 } });
  await step.run("inside", () => publish({ ...place, data: "two" }));
  await publish({ channel: "order/2", topic: "progress", data: "not for you" });
  return "told";
});

const show = (value) => console.log(JSON.stringify(value));
const server = createServer(serve({ client: inngest, functions: [tells] }));
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const synced = await fetch(`http://127.0.0.1:${server.address().port}/api/inngest`, { method: "PUT" });
const token = await getSubscriptionToken(inngest, { channel: place.channel, topics: [place.topic] });
const stream = await subscribe({ ...token, app: inngest });
show([synced.status, typeof token.key]);
for await (const { createdAt, ...rest } of stream) show({ ...rest, dated: createdAt instanceof Date });
