// Example 1: fetch a text file durably, then count a word in a step.
import { inngest, SAMPLE_API } from "./client.js";

export const retrieveTextFile = inngest.createFunction(
  { id: "retrieve-text-file", triggers: [{ event: "ts/file.wanted" }] },
  async ({ event, step }) => {
    const { name = "stepwell.txt", word = "step" } = event.data as { name?: string; word?: string };

    const response = await step.fetch(`${SAMPLE_API}/files/${name}`);
    const text = await response.text();

    const count = await step.run("count-word", () => text.toLowerCase().split(word.toLowerCase()).length - 1);
    return { name, word, count };
  },
);
