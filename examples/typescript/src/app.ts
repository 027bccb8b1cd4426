// The app: three functions behind node:http. PORT=0 takes a free port; the first line of output says where it listens.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { serve } from "inngest/node";

import { inngest } from "./client.js";
import { processFiles } from "./processFiles.js";
import { retrieveTextFile } from "./retrieveTextFile.js";
import { weatherFunction } from "./weatherFunction.js";

const handler = serve({ client: inngest, functions: [retrieveTextFile, processFiles, weatherFunction] });
const server = createServer(handler);

server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  console.log(`listening on http://127.0.0.1:${port}/api/inngest`);
});
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => process.exit(0));
}
