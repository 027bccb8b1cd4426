// One function on the unmodified npm SDK: a request with the key of its environment in headers and body.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../examples/typescript/package.json", import.meta.url));
const { Inngest } = require("inngest");
const { serve } = require("inngest/node");

const inngest = new Inngest({ id: "typescript" });
const key = process.env.LITERAL_NPM;

const asks = inngest.createFunction({ id: "asks", triggers: [{ event: "asks" }], retries: 2 }, async ({ step }) => {
  const headers = { authorization: `Bearer ${key}`, "x-api-key": key, "content-type": "text/plain" };
  const answer = await step.fetch(`${process.env.UPSTREAM}/slow`, { method: "POST", headers, body: `key is ${key}` });
  const flaky = await step.fetch(`${process.env.UPSTREAM}/flaky/npm?api_key=${key}`, { headers });
  return [answer.status, flaky.status];
});

const server = createServer(serve({ client: inngest, functions: [asks] }));
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/api/inngest`));
process.on("SIGTERM", () => process.exit(0));
