// Example 2: one durable request for each file, all in parallel, and never more than ten in flight.
import { inngest, SAMPLE_API } from "./client.js";

export const processFiles = inngest.createFunction(
  { id: "process-files", triggers: [{ event: "ts/files.wanted" }], concurrency: 10 },
  async ({ event, step }) => {
    const { files } = event.data as { files: string[] };

    const texts = await Promise.all(
      files.map(async (name) => {
        const response = await step.fetch(`${SAMPLE_API}/files/${name}`);
        return response.text();
      }),
    );

    const words = await Promise.all(
      files.map((name, i) => step.run(`count ${name}`, () => texts[i]!.split(/\s+/).filter(Boolean).length)),
    );
    return { files: files.length, words: words.reduce((sum, n) => sum + n, 0) };
  },
);
