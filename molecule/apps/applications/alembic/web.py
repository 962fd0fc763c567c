from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

app = FastAPI()
engine = create_async_engine("postgresql+asyncpg://")


@app.get("/")
def index():
    return "hello 1"


@app.get("/word")
async def word():
    async with engine.connect() as connection:
        return await connection.scalar(text("select text from word"))
