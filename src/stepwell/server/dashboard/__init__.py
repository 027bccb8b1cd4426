"""The pages for people: server-rendered, kept up to date by server-sent events."""
