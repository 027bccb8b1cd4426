// One function on the unmodified npm SDK: it makes the request that the event describes, and says what it got.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../examples/typescript/package.json", import.meta.url));
const { Inngest } = require("inngest");
const { serve } = require("inngest/node");

const inngest = new Inngest({ id: "probe" });

function bodyOf({ kind, text }) {
  if (kind === "form") return new FormData();
  if (kind === "bytes") return new Uint8Array(Buffer.from(text));
  if (kind === "buffer") return Buffer.from(text);
  return text;
}

const probe = inngest.createFunction(
  { id: "probe", triggers: [{ event: "probe" }], retries: 3 },
  async ({ event, step }) => {
    const { url, method = "GET", headers = {}, body } = event.data;
    try {
      const init = { method, headers, ...(body === undefined ? {} : { body: bodyOf(body) }) };
      const response = await step.fetch(url, init);
      return { status: response.status, headers: Object.fromEntries(response.headers), text: await response.text() };
    } catch (error) {
      return { error: error.name, message: error.message };
    }
  },
);

const server = createServer(serve({ client: inngest, functions: [probe] }));
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}/api/inngest`);
});
process.on("SIGTERM", () => process.exit(0));
