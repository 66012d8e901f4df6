// `corral/net`: everything of `node:net`, and with `{ ipc: true }` channels for messages and handles.

import type { SendHandle } from 'node:child_process';
import { EventEmitter } from 'node:events';
import type { FileHandle } from 'node:fs/promises';
import type * as net from 'node:net';

export * from 'node:net';

/** The process at the other end, as the kernel knows it. */
export interface Peer {
  /** The process that connected or began to listen; 0 if it is in another PID namespace. */
  pid: number;
  uid: number;
  gid: number;
}

/** `net.BoundSocket`, where Node and its types have it. */
type Bound = typeof net extends { BoundSocket: new (...args: never) => infer B } ? B : never;

/**
 * A handle to send with a message: as in `subprocess.send`, or a file. A BoundSocket must not be bound to a
 * path.
 */
export type Handle = SendHandle | Bound | number | FileHandle;

/** A handle that arrives with a message. A file arrives as a descriptor, which the receiver must close. */
export type ReceivedHandle = SendHandle | Bound | number | undefined;

/** As in `subprocess.send`. */
export interface SendOptions {
  /** Keeps a net.Socket open in this process. Default: `false`. */
  keepOpen?: boolean | undefined;
  swallowErrors?: boolean | undefined;
}

export type SendCallback = (error: Error | null) => void;

export interface RequestOptions {
  /** How long to wait for the reply, in milliseconds. Default: no limit. */
  timeout?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** Options of both servers and clients. */
export interface ChannelOptions {
  ipc: true;
  /** How messages are serialized, which must be the same at both ends. Default: `'json'`. */
  serialization?: 'json' | 'advanced' | undefined;
  /** The largest message that this side accepts, in bytes as they travel. Default: 64 MiB. */
  maxMessageSize?: number | undefined;
  /** How many bytes may wait to be sent, on each channel, before `send` fails. Default: 64 MiB. */
  maxQueuedBytes?: number | undefined;
  /** How long the handshake may take, in milliseconds. Default: 10,000. */
  handshakeTimeout?: number | undefined;
  /**
   * Decides whether a process of another user may connect. Root may always, other users by default may not.
   */
  allow?: ((peer: Peer) => boolean | Promise<boolean>) | undefined;
}

export interface ChannelServerOptions extends ChannelOptions {
  /** The maximum number of channels. Further clients are refused with an error. */
  maxConnections?: number | undefined;
}

export interface Reconnect {
  /** The delay before the first attempt, in milliseconds. It doubles with each further one. Default: 100. */
  minDelay?: number | undefined;
  /** Default: 10,000. */
  maxDelay?: number | undefined;
  /** The random part of each delay, from 0 to 1. Default: 0.5. */
  jitter?: number | undefined;
}

export interface ChannelConnectOptions extends ChannelOptions {
  /** A path or, on Linux, an abstract name, which begins with a NUL character. */
  path: string;
  /** Whether to reconnect when the connection is lost or cannot be made. Default: `false`. */
  reconnect?: boolean | Reconnect | undefined;
}

export interface ChannelListenOptions {
  /** A path or, on Linux, an abstract name, which begins with a NUL character. */
  path: string;
  backlog?: number | undefined;
  /** Widens the mode of the socket's file, which is 0600. Default: `false`. */
  readableAll?: boolean | undefined;
  /**
   * Widens the mode of the socket's file, which is 0600, so that permitted users can connect. Default:
   * `false`.
   */
  writableAll?: boolean | undefined;
  /** Closes the server. */
  signal?: AbortSignal | undefined;
}

interface ChannelEvents {
  connect: [];
  message: [message: any, handle: ReceivedHandle];
  /** After `send` has returned false: nothing waits any more. */
  drain: [];
  disconnect: [];
  reconnecting: [about: { attempt: number; delay: number; cause: Error | undefined }];
  /**
   * The error of a message without a callback, or the reason why the channel has ended or never came about:
   * the peer broke the protocol (`ERR_CORRAL_BAD_FRAME`) or sent more than `maxMessageSize`
   * (`ERR_CORRAL_FRAME_TOO_LARGE`). A client also gets these: the other program is not corral
   * (`ERR_CORRAL_BAD_HANDSHAKE`), or has another version (`ERR_CORRAL_VERSION`), another serialization
   * (`ERR_CORRAL_SERIALIZATION`) or another user (`ERR_CORRAL_PEER_NOT_ALLOWED`); the server has its maximum
   * of clients (`ERR_CORRAL_TOO_MANY_CONNECTIONS`), or took too long (`ERR_CORRAL_HANDSHAKE_TIMEOUT`); and
   * the codes of `net`. docs/errors.md has all codes. When corral itself has failed,
   * `ERR_CORRAL_REACTOR_GONE` is thrown, or is a process warning.
   */
  error: [error: NodeJS.ErrnoException];
  /** The last event. */
  close: [];
}

/** A connection that carries messages and handles, with the semantics of `subprocess.send`. */
export class Channel extends EventEmitter<ChannelEvents> {
  private constructor();
  readonly connecting: boolean;
  readonly connected: boolean;
  readonly path: string;
  /** The process at the other end, once connected. */
  readonly peer: Peer | undefined;
  /** As `subprocess.channel`; null once disconnected. */
  readonly channel: { ref(): void; unref(): void; readonly fd: number } | null;
  /**
   * Sends a message. A message waits until the channel is connected.
   *
   * Returns false when the peer is behind; 'drain' follows when nothing waits any more. The callback, or
   * without one an 'error' event, gets `ERR_IPC_CHANNEL_CLOSED`, `ERR_CORRAL_QUEUE_FULL` or
   * `ERR_CORRAL_MESSAGE_TOO_LARGE`.
   */
  send(message: any, callback?: SendCallback): boolean;
  send(message: any, handle: Handle | undefined, callback?: SendCallback): boolean;
  send(
    message: any,
    handle: Handle | undefined,
    options: SendOptions | undefined,
    callback?: SendCallback,
  ): boolean;
  /**
   * Sends a request, which the peer's `respond` answers. Rejects with the peer's error,
   * `ERR_CORRAL_NO_HANDLER`, `ERR_CORRAL_REQUEST_TIMEOUT`, `ABORT_ERR`, `ERR_CORRAL_NO_REPLY` if the
   * connection ends first, or `ERR_IPC_CHANNEL_CLOSED` on a closed channel.
   */
  request<Reply = any>(message: any, options?: RequestOptions): Promise<Reply>;
  /** Answers the peer's requests with the responder's result or error. */
  respond(responder: ((this: this, message: any, handle: ReceivedHandle) => any) | undefined): this;
  /** Closes the channel when all waiting messages have been sent. */
  disconnect(): void;
  /** Closes the channel at once. */
  destroy(): this;
  /** Stops receiving for now, including the end of the channel. The peer has to wait. */
  pause(): this;
  resume(): this;
  isPaused(): boolean;
  ref(): this;
  unref(): this;
  /**
   * Iterates over the messages until the channel disconnects. A slow loop makes the peer wait. When a loop
   * ends early, the next listener gets the remaining messages. Only 'message' delivers handles.
   */
  [Symbol.asyncIterator](): AsyncGenerator<any, void, undefined>;
}

interface ChannelServerEvents {
  listening: [];
  connection: [channel: Channel];
  /**
   * A client was refused, and `channel` is undefined (`ERR_CORRAL_BAD_HANDSHAKE`, `ERR_CORRAL_VERSION`,
   * `ERR_CORRAL_SERIALIZATION`, `ERR_CORRAL_PEER_NOT_ALLOWED`, `ERR_CORRAL_HANDSHAKE_TIMEOUT`); or a channel
   * without an 'error' listener has failed: its peer broke the protocol (`ERR_CORRAL_BAD_FRAME`,
   * `ERR_CORRAL_FRAME_TOO_LARGE`), or a message without a callback, or one of `broadcast`, could not be sent
   * (`ERR_CORRAL_QUEUE_FULL`, `ERR_CORRAL_MESSAGE_TOO_LARGE`, `ERR_IPC_CHANNEL_CLOSED`, `EPIPE`). If nobody
   * listens there is a process warning, once for each code.
   *
   * For refused clients `error.count` is their number, usually 1. If more than 64 come in 100 ms, or before
   * this process has received their events, one event for each code stands for the further ones, with their
   * number and the last of them. The same is true of 'drop'.
   */
  clientError: [error: NodeJS.ErrnoException & { count?: number }, peer: Peer, channel: Channel | undefined];
  /** A client was refused because of `maxConnections`, or because `allow` has 256 others to decide on. */
  drop: [about: { peer: Peer; path: string; count: number }];
  /** `listen` has failed, or `allow` has thrown. */
  error: [error: NodeJS.ErrnoException];
  close: [];
}

/** A server whose connections are channels. */
export class ChannelServer extends EventEmitter<ChannelServerEvents> {
  private constructor();
  readonly listening: boolean;
  readonly connections: ReadonlySet<Channel>;
  maxConnections: number | undefined;
  /**
   * Listens at a path. 'error' reports `EADDRINUSE` when another socket listens there or the file is not a
   * socket, `ERR_CORRAL_UNSAFE_DIRECTORY` when other users, or a group, could replace the socket, and the
   * errors of `net`.
   */
  listen(path: string, callback?: () => void): this;
  listen(path: string, backlog: number, callback?: () => void): this;
  listen(options: ChannelListenOptions, callback?: () => void): this;
  address(): string | null;
  getConnections(callback: (error: Error | null, count: number) => void): this;
  /**
   * Sends a message to all channels. Returns false when some of them are behind. Channels that have gone are
   * skipped. If sending fails for another reason, the channel emits 'error', or the server 'clientError'.
   */
  broadcast(message: any): boolean;
  /** Stops listening; 'close' follows when the last channel has gone. */
  close(callback?: (error?: Error) => void): this;
  /** As `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
  ref(): this;
  unref(): this;
}

/**
 * Throws `ERR_CORRAL_NO_NATIVE` for channels, as `connect` does, where corral's core cannot run: there is no binary, or the
 * runtime is Bun or Deno.
 */
export function createServer(
  options: ChannelServerOptions,
  connectionListener?: (channel: Channel) => void,
): ChannelServer;
export function createServer(connectionListener?: (socket: net.Socket) => void): net.Server;
export function createServer(
  options?: net.ServerOpts & { ipc?: false | undefined },
  connectionListener?: (socket: net.Socket) => void,
): net.Server;

export function connect(options: ChannelConnectOptions, connectListener?: () => void): Channel;
export function connect(options: net.NetConnectOpts, connectionListener?: () => void): net.Socket;
export function connect(port: number, host?: string, connectionListener?: () => void): net.Socket;
export function connect(path: string, connectionListener?: () => void): net.Socket;

export const createConnection: typeof connect;
