//! The interop agent of rskafka: one JSON object a line in, one out. The library has no groups and no idempotence.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chrono::{DateTime, Utc};
use rskafka::BackoffConfig;
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::{Record, RecordAndOffset};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};

type Failure = Box<dyn Error + Send + Sync>;
type Answer = Result<Value, Failure>;

const VERSION: &str = "0.6.0";
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
const CALL_TIMEOUT_MS: i32 = 30_000;
const FETCH_BYTES: i32 = 10_000_000;
/// Keeps a request below a broker's default limit of a batch.
const PIECE: usize = 1000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let bootstrap = std::env::args().nth(1).ok_or("the bootstrap address is missing")?;
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_millis(500),
        base: 2.0,
        deadline: Some(Duration::from_secs(60)),
    };
    let client = ClientBuilder::new(vec![bootstrap]).backoff_config(backoff).build().await?;
    let mut agent = Agent { client, partitions: HashMap::new(), opened: HashMap::new(), next_id: 0 };
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut out = tokio::io::stdout();
    while let Some(line) = lines.next_line().await? {
        let request: Value = serde_json::from_str(&line)?;
        let answer = agent.call(&request).await.unwrap_or_else(|error| json!({"error": error.to_string()}));
        out.write_all(format!("{answer}\n").as_bytes()).await?;
        out.flush().await?;
    }
    Ok(())
}

enum Opened {
    Producer(mpsc::UnboundedSender<Job>),
    Reader { partition: Arc<PartitionClient>, number: i32, next: i64 },
}

enum Job {
    Produce(Arc<PartitionClient>, Vec<Record>),
    Flush(oneshot::Sender<Option<String>>),
}

struct Agent {
    client: Client,
    partitions: HashMap<(String, i32), Arc<PartitionClient>>,
    opened: HashMap<i64, Opened>,
    next_id: i64,
}

impl Agent {
    async fn call(&mut self, request: &Value) -> Answer {
        match word(request, "call") {
            "version" => Ok(json!({"version": VERSION})),
            "createTopic" => {
                let partitions = number(request, "partitions") as i32;
                let controller = self.client.controller_client()?;
                controller.create_topic(word(request, "topic"), partitions, 1, CALL_TIMEOUT_MS).await?;
                Ok(json!({}))
            }
            "deleteTopic" => {
                let controller = self.client.controller_client()?;
                controller.delete_topic(word(request, "topic"), CALL_TIMEOUT_MS).await?;
                Ok(json!({}))
            }
            "topics" => {
                let listed = self.client.list_topics().await?;
                let topics: Map<String, Value> =
                    listed.into_iter().map(|topic| (topic.name, json!(topic.partitions.len()))).collect();
                Ok(json!({"topics": topics}))
            }
            "offsetAt" => {
                let stamp = timestamp(number(request, "timestampMs"))?;
                self.offset(request, OffsetAt::Timestamp(stamp)).await
            }
            "endOffset" => self.offset(request, OffsetAt::Latest).await,
            "openProducer" => {
                let (jobs, queue) = mpsc::unbounded_channel();
                tokio::spawn(produce(queue, compression(word(request, "codec"))?));
                self.open(Opened::Producer(jobs))
            }
            "openReader" => self.open_reader(request).await,
            "send" => self.send(request).await,
            "flush" => self.flush(request).await,
            "poll" => self.poll(request).await,
            "closeProducer" | "closeConsumer" => {
                self.opened.remove(&number(request, "id"));
                Ok(json!({}))
            }
            other => Err(format!("not in this library: {other}").into()),
        }
    }

    fn open(&mut self, what: Opened) -> Answer {
        self.next_id += 1;
        self.opened.insert(self.next_id, what);
        Ok(json!({"id": self.next_id}))
    }

    async fn partition(&mut self, topic: &str, partition: i32) -> Result<Arc<PartitionClient>, Failure> {
        let key = (topic.to_owned(), partition);
        if !self.partitions.contains_key(&key) {
            let opened = self.client.partition_client(topic, partition, UnknownTopicHandling::Retry).await?;
            self.partitions.insert(key.clone(), Arc::new(opened));
        }
        Ok(Arc::clone(&self.partitions[&key]))
    }

    async fn offset(&mut self, request: &Value, at: OffsetAt) -> Answer {
        let partition = self.partition(word(request, "topic"), number(request, "partition") as i32).await?;
        Ok(json!({"offset": partition.get_offset(at).await?}))
    }

    async fn open_reader(&mut self, request: &Value) -> Answer {
        let at = number(request, "partition") as i32;
        let partition = self.partition(word(request, "topic"), at).await?;
        let next = match number(request, "offset") {
            EARLIEST => partition.get_offset(OffsetAt::Earliest).await?,
            LATEST => partition.get_offset(OffsetAt::Latest).await?,
            offset => offset,
        };
        self.open(Opened::Reader { partition, number: at, next })
    }

    async fn send(&mut self, request: &Value) -> Answer {
        let mut parts: Vec<(i32, Vec<Record>)> = Vec::new();
        for message in request["messages"].as_array().into_iter().flatten() {
            let (at, record) = (number(message, "partition") as i32, outgoing(message)?);
            match parts.iter_mut().find(|(of, records)| *of == at && records.len() < PIECE) {
                Some((_, records)) => records.push(record),
                None => parts.push((at, vec![record])),
            }
        }
        for (at, records) in parts {
            let partition = self.partition(word(request, "topic"), at).await?;
            self.jobs(request)?.send(Job::Produce(partition, records))?;
        }
        Ok(json!({}))
    }

    async fn flush(&mut self, request: &Value) -> Answer {
        let (done, wait) = oneshot::channel();
        self.jobs(request)?.send(Job::Flush(done)).map_err(|_| "the producer ended")?;
        let limit = Duration::from_millis(number(request, "timeoutMs") as u64);
        match tokio::time::timeout(limit, wait).await?? {
            Some(failure) => Err(failure.into()),
            None => Ok(json!({})),
        }
    }

    fn jobs(&self, request: &Value) -> Result<&mpsc::UnboundedSender<Job>, Failure> {
        match self.opened.get(&number(request, "id")) {
            Some(Opened::Producer(jobs)) => Ok(jobs),
            _ => Err("no such producer".into()),
        }
    }

    async fn poll(&mut self, request: &Value) -> Answer {
        let wait_ms = number(request, "timeoutMs") as i32;
        let Some(Opened::Reader { partition, number, next }) = self.opened.get_mut(&number(request, "id"))
        else {
            return Err("no such reader".into());
        };
        let (found, _) = partition.fetch_records(*next, 1..FETCH_BYTES, wait_ms).await?;
        if let Some(last) = found.last() {
            *next = last.offset + 1;
        }
        let records: Vec<Value> = found.into_iter().map(|record| incoming(*number, record)).collect();
        Ok(json!({"records": records}))
    }
}

/// One producer's jobs in order; the first failure is told by the next flush.
async fn produce(mut queue: mpsc::UnboundedReceiver<Job>, compression: Compression) {
    let mut failure = None;
    while let Some(job) = queue.recv().await {
        match job {
            Job::Produce(partition, records) => {
                if let Err(error) = partition.produce(records, compression).await {
                    failure.get_or_insert(error.to_string());
                }
            }
            // Whoever asked may have gone after its time-out.
            Job::Flush(done) => drop(done.send(failure.take())),
        }
    }
}

fn compression(codec: &str) -> Result<Compression, Failure> {
    match codec {
        "none" => Ok(Compression::NoCompression),
        "gzip" => Ok(Compression::Gzip),
        "snappy" => Ok(Compression::Snappy),
        "lz4" => Ok(Compression::Lz4),
        "zstd" => Ok(Compression::Zstd),
        other => Err(format!("unknown codec {other}").into()),
    }
}

fn outgoing(message: &Value) -> Result<Record, Failure> {
    let timestamp = match message["timestampMs"].as_i64() {
        Some(milliseconds) => timestamp(milliseconds)?,
        None => Utc::now(),
    };
    Ok(Record {
        key: blob(&message["key"])?,
        value: blob(&message["value"])?,
        headers: Default::default(),
        timestamp,
    })
}

fn incoming(partition: i32, found: RecordAndOffset) -> Value {
    json!({
        "partition": partition,
        "offset": found.offset,
        "timestampMs": found.record.timestamp.timestamp_millis(),
        "key": found.record.key.map(|key| BASE64.encode(key)),
        "value": found.record.value.map(|value| BASE64.encode(value)),
        "headers": [],
    })
}

fn blob(value: &Value) -> Result<Option<Vec<u8>>, Failure> {
    Ok(value.as_str().map(|text| BASE64.decode(text)).transpose()?)
}

fn timestamp(milliseconds: i64) -> Result<DateTime<Utc>, Failure> {
    DateTime::from_timestamp_millis(milliseconds).ok_or_else(|| "a timestamp out of range".into())
}

fn word<'a>(request: &'a Value, name: &str) -> &'a str {
    request[name].as_str().unwrap_or_default()
}

fn number(request: &Value, name: &str) -> i64 {
    request[name].as_i64().unwrap_or_default()
}
