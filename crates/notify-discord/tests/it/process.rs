use sandbox::{Piece, Sandbox};

const BINARY: &str = env!("CARGO_BIN_EXE_notify-discord");

pub(crate) fn notify() -> Piece {
    Piece::new(BINARY)
}

pub(crate) fn shell(script: &str) -> Piece {
    Piece::shell(BINARY, script)
}

/// To the sandbox's webhook.
pub(crate) fn to_webhook(sandbox: &Sandbox) -> Piece {
    notify().env("DISCORD_WEBHOOK_URL", &sandbox.discord().webhook_url())
}

/// To the sandbox's channel, as its bot.
pub(crate) fn as_bot(sandbox: &Sandbox) -> Piece {
    let discord = sandbox.discord();
    notify()
        .env("DISCORD_API_URL", &discord.api_url())
        .env("DISCORD_BOT_TOKEN", &discord.bot_token())
        .env("DISCORD_CHANNEL_ID", &discord.channel_id())
}
