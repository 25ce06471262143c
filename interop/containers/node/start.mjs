// Starts a broker with the Kafka module of Testcontainers for Node: one answer line, and the end of input stops it.
//
// Arguments: the mode ("zookeeper", the module's default before 8.0, or "kraft") and the image.
import { KafkaContainer } from "@testcontainers/kafka";
import { createInterface } from "node:readline";

const PORT = 9093;
const [mode, image] = process.argv.slice(2);
let started;

for await (const line of createInterface({ input: process.stdin })) {
  void line;
  try {
    const container = new KafkaContainer(image);
    started = await (mode === "kraft" ? container.withKraft() : container).start();
    const bootstrap = `${started.getHost()}:${started.getMappedPort(PORT)}`;
    console.log(JSON.stringify({ bootstrap }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
await started?.stop();
