"""What a model and its users are shown of the tools: TypeScript, a section for a system prompt, Markdown, search.

Everything here is made of the tools' descriptions (`Tool.describe`), plain JSON data, and of nothing else.
"""
